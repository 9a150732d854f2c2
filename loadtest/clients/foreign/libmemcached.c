/* libmemcached as a worker of evanesce-clients: what its lines mean is in src/main.rs.
 *
 *   libmemcached threads|batch text|binary IP:PORT CALLERS VALUE_BYTES KEYS
 *
 * threads: CALLERS threads, each with a connection of its own, one key a call.
 * batch:   one thread asks for CALLERS keys a call, with memcached_mget.
 */
#include <libmemcached/memcached.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEY_BYTES = 32, CALLERS_MAX = 1024, STRIDE = 7919 };

static atomic_bool over;
static bool batch, binary;
static char host[64];
static int port;
static size_t callers, value_bytes;
static unsigned keys;

struct caller {
  memcached_st *memcached;
  unsigned number;
  unsigned long read;
};

static void fail(const char *what) {
  fprintf(stderr, "libmemcached: %s\n", what);
  exit(1);
}

static void next_key(struct caller *caller, char *key) {
  caller->number = (caller->number + STRIDE) % keys;
  memcpy(key, "key-0000000000000000000000000000", KEY_BYTES);
  unsigned rest = caller->number;
  for (int at = KEY_BYTES - 1; rest > 0; rest /= 10) key[at--] = '0' + rest % 10;
}

static void check(const char *key, const char *value, size_t length) {
  if (value == NULL || length != value_bytes || memcmp(key, value, KEY_BYTES) != 0) fail("a value was not its key's");
}

static void connect_caller(struct caller *caller, unsigned number) {
  caller->memcached = memcached_create(NULL);
  caller->number = number * 104729u % keys;
  memcached_behavior_set(caller->memcached, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
  memcached_behavior_set(caller->memcached, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, binary);
  if (memcached_failed(memcached_server_add(caller->memcached, host, port))) fail("cannot add the server");
}

static void get(struct caller *caller) {
  char key[KEY_BYTES];
  next_key(caller, key);
  size_t length = 0;
  uint32_t flags;
  memcached_return_t error;
  char *value = memcached_get(caller->memcached, key, KEY_BYTES, &length, &flags, &error);
  if (value == NULL) fail(memcached_strerror(caller->memcached, error));
  check(key, value, length);
  free(value);
  caller->read++;
}

/* Fetched into one result, as its documentation advises. */
static void get_many(struct caller *caller) {
  static char text[CALLERS_MAX][KEY_BYTES];
  static const char *names[CALLERS_MAX];
  static size_t lengths[CALLERS_MAX];
  for (size_t at = 0; at < callers; at++) {
    next_key(caller, text[at]);
    names[at] = text[at];
    lengths[at] = KEY_BYTES;
  }
  if (memcached_failed(memcached_mget(caller->memcached, names, lengths, callers))) fail("mget failed");
  memcached_result_st result;
  memcached_result_create(caller->memcached, &result);
  memcached_return_t error;
  size_t found = 0;
  while (memcached_fetch_result(caller->memcached, &result, &error) != NULL) {
    check(memcached_result_key_value(&result), memcached_result_value(&result), memcached_result_length(&result));
    found++;
  }
  memcached_result_free(&result);
  if (found != callers) fail("a key of a batch was not found");
  caller->read += found;
}

static void *work(void *argument) {
  struct caller *caller = argument;
  caller->read = 0;
  while (!atomic_load_explicit(&over, memory_order_relaxed)) {
    if (batch) get_many(caller);
    else get(caller);
  }
  return NULL;
}

static unsigned long long processor_time(void) {
  struct timespec time;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return time.tv_sec * 1000000000ull + time.tv_nsec;
}

int main(int count, char **words) {
  char *colon;
  if (count != 7 || strlen(words[3]) >= sizeof host || (colon = strrchr(words[3], ':')) == NULL)
    fail("usage: libmemcached threads|batch text|binary IP:PORT CALLERS VALUE_BYTES KEYS");
  batch = strcmp(words[1], "batch") == 0;
  binary = strcmp(words[2], "binary") == 0;
  memcpy(host, words[3], colon - words[3]);
  port = atoi(colon + 1);
  callers = strtoul(words[4], NULL, 10);
  value_bytes = strtoul(words[5], NULL, 10);
  keys = strtoul(words[6], NULL, 10);
  if (callers == 0 || callers > CALLERS_MAX || keys == 0) fail("1 to 1024 callers, and some keys");

  static struct caller all[CALLERS_MAX];
  static pthread_t threads[CALLERS_MAX];
  const size_t started = batch ? 1 : callers;
  for (size_t at = 0; at < started; at++) connect_caller(&all[at], at);
  printf("ready\n");
  fflush(stdout);
  char line[32];
  while (fgets(line, sizeof line, stdin) != NULL) {
    const unsigned long long before = processor_time();
    atomic_store(&over, false);
    for (size_t at = 0; at < started; at++)
      if (pthread_create(&threads[at], NULL, work, &all[at]) != 0) fail("cannot start a thread");
    usleep(strtoul(line, NULL, 10) * 1000);
    atomic_store(&over, true);
    unsigned long read = 0;
    for (size_t at = 0; at < started; at++) {
      pthread_join(threads[at], NULL);
      read += all[at].read;
    }
    printf("%lu %llu\n", read, processor_time() - before);
    fflush(stdout);
  }
  for (size_t at = 0; at < started; at++) memcached_free(all[at].memcached);
  return 0;
}
