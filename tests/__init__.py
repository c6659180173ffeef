"""Tests in three layers: unit, component, appliance."""
