#!/bin/sh
set -eu
cat > config/docker.yaml <<EOF
temporalGrpcAddress: $TEMPORAL_ADDRESS
host: 0.0.0.0
port: 8080
publicPath: $TEMPORAL_UI_PUBLIC_PATH
enableUi: true
disableWriteActions: true
notifyOnNewVersion: false
EOF
exec ui-server --root /home/ui-server --config config --env docker start
