"""Interface definitions; `python -m api.protos.generate` writes `api/grpc/tools_pb2.py` from them."""
