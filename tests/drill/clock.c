#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>

static time_t wrong_by(void) {
	const char *seconds = getenv("CLOCK_WRONG_BY");
	return seconds ? atoll(seconds) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
	static int (*real)(clockid_t, struct timespec *);
	if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	int status = real(clock, now);
	if (!status && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += wrong_by();
	return status;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
	static int (*real)(struct timeval *, void *);
	if (!real) real = (int (*)(struct timeval *, void *))dlsym(RTLD_NEXT, "gettimeofday");
	int status = real(now, zone);
	if (!status) now->tv_sec += wrong_by();
	return status;
}

time_t time(time_t *now) {
	struct timespec then;
	clock_gettime(CLOCK_REALTIME, &then);
	if (now) *now = then.tv_sec;
	return then.tv_sec;
}
