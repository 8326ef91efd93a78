/*
 * A filter in C on the raw ABI, without a library: it counts responses by the
 * class of their status, and numbers them over all workers in a header.
 *
 *   stats:   responses.class=1xx .. responses.class=5xx, contention
 *   header:  x-response-number on each response
 *   data:    "number", decimal, in shared data
 *
 * Configuration: the highest class to count, one digit; without one, 5.
 */

typedef __UINT8_TYPE__ u8;
typedef __UINT32_TYPE__ u32;
typedef __INT64_TYPE__ i64;

#define IMPORT(name) __attribute__((import_module("env"), import_name(name)))
#define EXPORT(name) __attribute__((export_name(name)))

IMPORT("proxy_log") u32 proxy_log(u32 level, const char *text, u32 size);
IMPORT("proxy_define_metric")
u32 proxy_define_metric(u32 type, const char *name, u32 size, u32 *id);
IMPORT("proxy_increment_metric") u32 proxy_increment_metric(u32 id, i64 offset);
IMPORT("proxy_get_header_map_value")
u32 proxy_get_header_map_value(u32 map, const char *name, u32 size, char **value, u32 *value_size);
IMPORT("proxy_replace_header_map_value")
u32 proxy_replace_header_map_value(u32 map, const char *name, u32 size, const char *value,
                                   u32 value_size);
IMPORT("proxy_get_shared_data")
u32 proxy_get_shared_data(const char *key, u32 size, char **value, u32 *value_size, u32 *cas);
IMPORT("proxy_set_shared_data")
u32 proxy_set_shared_data(const char *key, u32 size, const char *value, u32 value_size, u32 cas);
IMPORT("proxy_get_buffer_bytes")
u32 proxy_get_buffer_bytes(u32 buffer, u32 start, u32 length, char **bytes, u32 *size);

enum { OK = 0, NOT_FOUND = 1, CAS_MISMATCH = 8 };
enum { COUNTER = 0 };
enum { RESPONSE_HEADERS = 2 };
enum { PLUGIN_CONFIGURATION = 7 };
enum { ERROR = 4 };
enum { CONTINUE = 0 };

#define TEXT(literal) literal, sizeof(literal) - 1

static u32 highest = 5;
static u32 classes[6];
static u32 contention;

/* What the host hands over lives for one callback. */
static u8 arena[4096];
static u32 used;

EXPORT("malloc") void *allocate(u32 size) {
  if (size > sizeof(arena) - used) {
    return 0;
  }
  void *memory = arena + used;
  used += size;
  return memory;
}

EXPORT("proxy_abi_version_0_2_1") void abi_version(void) {}

EXPORT("_initialize") void initialize(void) { contention = 0; }

static u32 define(void) {
  static char name[] = "responses.class=_xx";
  for (u32 class = 1; class <= highest; class ++) {
    name[sizeof("responses.class=") - 1] = (char)('0' + class);
    if (proxy_define_metric(COUNTER, TEXT(name), &classes[class]) != OK) {
      return 0;
    }
  }
  return proxy_define_metric(COUNTER, TEXT("contention"), &contention) == OK;
}

EXPORT("proxy_on_configure") u32 on_configure(u32 root, u32 size) {
  (void)root;
  used = 0;
  if (size > 0) {
    char *bytes;
    u32 length;
    if (proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, &bytes, &length) != OK ||
        length != 1 || bytes[0] < '1' || bytes[0] > '5') {
      proxy_log(ERROR, TEXT("the configuration is no digit from 1 to 5"));
      return 0;
    }
    highest = (u32)(bytes[0] - '0');
  }
  return define();
}

/* The number after the one in shared data, as text; 0 if the host fails. */
static u32 next_number(char text[10]) {
  for (;;) {
    char *value;
    u32 size = 0, cas = 0, number = 0;
    used = 0;
    u32 status = proxy_get_shared_data(TEXT("number"), &value, &size, &cas);
    if (status != OK && status != NOT_FOUND) {
      return 0;
    }
    for (u32 i = 0; i < size; i++) {
      number = number * 10 + (u32)(value[i] - '0');
    }
    number += 1;
    u32 digits = 0;
    for (u32 rest = number; rest > 0; rest /= 10) {
      digits += 1;
    }
    for (u32 i = digits, rest = number; i > 0; i--, rest /= 10) {
      text[i - 1] = (char)('0' + rest % 10);
    }
    status = proxy_set_shared_data(TEXT("number"), text, digits, cas);
    if (status == OK) {
      return digits;
    }
    if (status != CAS_MISMATCH) {
      return 0;
    }
    proxy_increment_metric(contention, 1);
  }
}

EXPORT("proxy_on_response_headers") u32 on_response_headers(u32 stream, u32 headers, u32 end) {
  (void)stream, (void)headers, (void)end;
  char number[10];
  u32 digits = next_number(number);
  if (digits > 0) {
    proxy_replace_header_map_value(RESPONSE_HEADERS, TEXT("x-response-number"), number, digits);
  }
  return CONTINUE;
}

EXPORT("proxy_on_log") void on_log(u32 stream) {
  (void)stream;
  char *status;
  u32 size = 0;
  used = 0;
  if (proxy_get_header_map_value(RESPONSE_HEADERS, TEXT(":status"), &status, &size) != OK ||
      size != 3) {
    return;
  }
  u32 class = (u32)(status[0] - '0');
  if (class >= 1 && class <= highest) {
    proxy_increment_metric(classes[class], 1);
  }
}
