#!/bin/sh
# What runs in the end is not what the image is started with.
exec /app/server.py
