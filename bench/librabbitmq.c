/* Publishes persistent messages to the exchange `bench` with a window of confirms, and prints the seconds it took:
 *
 *     publisher PORT COUNT SIZE WINDOW
 */
#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void die(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

/* Waits for one basic.ack and answers how far everything is confirmed; RabbitMQ confirms one queue's messages in order. */
static uint64_t await_ack(amqp_connection_state_t connection, uint64_t confirmed) {
  amqp_frame_t frame;
  do {
    amqp_maybe_release_buffers(connection);
    if (amqp_simple_wait_frame(connection, &frame) != AMQP_STATUS_OK) die("connection lost");
  } while (frame.frame_type != AMQP_FRAME_METHOD || frame.payload.method.id != AMQP_BASIC_ACK_METHOD);
  amqp_basic_ack_t *ack = frame.payload.method.decoded;
  return ack->multiple ? (ack->delivery_tag > confirmed ? ack->delivery_tag : confirmed) : confirmed + 1;
}

int main(int argc, char **argv) {
  if (argc != 5) die("usage: publisher PORT COUNT SIZE WINDOW");
  uint64_t count = strtoull(argv[2], NULL, 10), size = strtoull(argv[3], NULL, 10), window = strtoull(argv[4], NULL, 10);
  amqp_connection_state_t connection = amqp_new_connection();
  amqp_socket_t *socket = amqp_tcp_socket_new(connection);
  if (!socket || amqp_socket_open(socket, "127.0.0.1", atoi(argv[1]))) die("cannot connect");
  if (amqp_login(connection, "/", 0, 131072, 0, AMQP_SASL_METHOD_PLAIN, "guest", "guest").reply_type != AMQP_RESPONSE_NORMAL)
    die("cannot log in");
  amqp_channel_open(connection, 1);
  amqp_confirm_select(connection, 1);
  if (amqp_get_rpc_reply(connection).reply_type != AMQP_RESPONSE_NORMAL) die("no confirms");
  amqp_bytes_t body = amqp_bytes_malloc(size);
  memset(body.bytes, 'x', size);
  amqp_basic_properties_t properties;
  memset(&properties, 0, sizeof properties);
  properties._flags = AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_CONTENT_TYPE_FLAG;
  properties.delivery_mode = 2;
  properties.content_type = amqp_cstring_bytes("application/json");
  uint64_t confirmed = 0;
  double started = now();
  for (uint64_t sent = 0; sent < count; sent++) {
    while (sent - confirmed >= window) confirmed = await_ack(connection, confirmed);
    if (amqp_basic_publish(connection, 1, amqp_cstring_bytes("bench"), amqp_cstring_bytes("pulp.server.repo.sync.start"), 0,
                           0, &properties, body) != AMQP_STATUS_OK)
      die("cannot publish");
  }
  while (confirmed < count) confirmed = await_ack(connection, confirmed);
  printf("%.6f\n", now() - started);
  return 0;
}
