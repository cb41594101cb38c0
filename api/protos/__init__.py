"""Interface definitions; `python -m api.protos.generate` writes `api/tools/grpc/tools_pb2.py` from them."""
