"""The object store that holds a cluster's archive: S3, or what speaks like it."""

from runtime.store.client import CANARY, Object, Store
from runtime.store.errors import Absent, Denied, Exists, StoreError, Unanswered
from runtime.store.stream import Stream

__all__ = ["CANARY", "Absent", "Denied", "Exists", "Object", "Store", "StoreError", "Stream", "Unanswered"]
