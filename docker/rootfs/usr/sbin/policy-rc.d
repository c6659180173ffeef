#!/bin/sh
# Packages must not start services while they are being installed (101 = forbidden).
exit 101
