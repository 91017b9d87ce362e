/* Publishes persistent messages to the exchange `bench` with a window of confirms, and prints the seconds it took:
 *
 *     publisher PORT COUNT SIZE WINDOW [TRACE MESSAGE-ID REPOSITORY]
 *
 * With the last three each message has the properties and headers that Pulpit gives to an event.
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

static amqp_table_entry_t text(const char *name, const char *value) {
  amqp_table_entry_t entry = {.key = amqp_cstring_bytes(name), .value = {.kind = AMQP_FIELD_KIND_UTF8}};
  entry.value.value.bytes = amqp_cstring_bytes(value);
  return entry;
}

static amqp_table_entry_t number(const char *name) {
  amqp_table_entry_t entry = {.key = amqp_cstring_bytes(name), .value = {.kind = AMQP_FIELD_KIND_I64}};
  return entry;
}

int main(int argc, char **argv) {
  if (argc != 5 && argc != 8) die("usage: publisher PORT COUNT SIZE WINDOW [TRACE MESSAGE-ID REPOSITORY]");
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
  amqp_table_entry_t entries[5];
  if (argc == 8) {
    properties._flags |= AMQP_BASIC_CONTENT_ENCODING_FLAG | AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                         AMQP_BASIC_TIMESTAMP_FLAG | AMQP_BASIC_TYPE_FLAG | AMQP_BASIC_APP_ID_FLAG;
    properties.content_encoding = amqp_cstring_bytes("utf-8");
    properties.message_id = amqp_cstring_bytes(argv[6]);
    properties.timestamp = time(NULL);
    properties.type = amqp_cstring_bytes("repo.sync.start");
    properties.app_id = amqp_cstring_bytes("pulpit");
    entries[0] = text("qpid.subject", "pulp.server.repo.sync.start");
    entries[1] = number("pulpit-number");
    entries[2] = text("traceparent", argv[5]);
    entries[3] = text("pulpit-repo-id", argv[7]);
    entries[4] = number("pulpit-repo-number");
    properties.headers.num_entries = 5;
    properties.headers.entries = entries;
  }
  uint64_t confirmed = 0;
  double started = now();
  for (uint64_t sent = 0; sent < count; sent++) {
    while (sent - confirmed >= window) confirmed = await_ack(connection, confirmed);
    entries[1].value.value.i64 = entries[4].value.value.i64 = (int64_t)sent + 1;
    if (amqp_basic_publish(connection, 1, amqp_cstring_bytes("bench"), amqp_cstring_bytes("pulp.server.repo.sync.start"), 0,
                           0, &properties, body) != AMQP_STATUS_OK)
      die("cannot publish");
  }
  while (confirmed < count) confirmed = await_ack(connection, confirmed);
  printf("%.6f\n", now() - started);
  return 0;
}
