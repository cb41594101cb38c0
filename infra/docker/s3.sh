#!/bin/sh
# VersityGW takes its keys from the environment alone: they are read from their files here.
set -eu
ROOT_ACCESS_KEY=$(tr -d '\n' < /run/secrets/s3_access_key)
ROOT_SECRET_KEY=$(tr -d '\n' < /run/secrets/s3_secret_key)
export ROOT_ACCESS_KEY ROOT_SECRET_KEY
mkdir -p /data/objects /data/versions
exec versitygw --port :7070 --health /healthz --quiet --keep-alive posix --versioning-dir /data/versions /data/objects
