"""The standard health protocol, served by the gRPC library: the status of each service from a file, NAME=STATUS a line.

Arguments: the file, the port, and for TLS the server's certificate, its key and the authority that clients must have theirs of.
"""

import sys
from concurrent import futures

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

STATUSES = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]


def messages():
    """The protocol's two messages, as health.proto has them."""
    file = descriptor_pb2.FileDescriptorProto(name="health.proto", package="grpc.health.v1", syntax="proto3")
    request = file.message_type.add(name="HealthCheckRequest")
    request.field.add(name="service", number=1, type=9, label=1)
    response = file.message_type.add(name="HealthCheckResponse")
    status = response.enum_type.add(name="ServingStatus")
    for number, name in enumerate(STATUSES):
        status.value.add(name=name, number=number)
    response.field.add(
        name="status", number=1, type=14, label=1, type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus"
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    names = ["HealthCheckRequest", "HealthCheckResponse"]
    return [factory.GetPrototype(pool.FindMessageTypeByName("grpc.health.v1." + name)) for name in names]


REQUEST, RESPONSE = messages()


def check(request, context):
    with open(sys.argv[1], encoding="ascii") as file:
        statuses = dict(line.strip().split("=") for line in file)
    if request.service not in statuses:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return RESPONSE(status=STATUSES.index(statuses[request.service]))


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    handler = grpc.unary_unary_rpc_method_handler(check, REQUEST.FromString, RESPONSE.SerializeToString)
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})]
    )
    if len(sys.argv) > 3:
        certificate, key, authority = (open(name, "rb").read() for name in sys.argv[3:])
        credentials = grpc.ssl_server_credentials([(key, certificate)], authority, True)
        server.add_secure_port("[::]:" + sys.argv[2], credentials)
    else:
        server.add_insecure_port("[::]:" + sys.argv[2])
    server.start()
    server.wait_for_termination()


main()
