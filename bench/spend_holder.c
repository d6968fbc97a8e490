// holder SEED HOLDS: opens "uvm", registers a GPU, keeps it for 20 ms to 1 s, closes it, again and
// again. Prints the boot clock, in nanoseconds, before and after register and before and after close.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REGISTER_GPU 37 // UVM_REGISTER_GPU: its argument starts with the UUID
#define LEAST_NS 20000000L
#define SPAN_NS 980000000L

static long long now_ns(void)
{
	struct timespec at;

	clock_gettime(CLOCK_BOOTTIME, &at);
	return at.tv_sec * 1000000000LL + at.tv_nsec;
}

int main(int argc, char **argv)
{
	unsigned char argument[64];

	if (argc != 3)
		return 2;
	for (int i = 0; i < (int)sizeof(argument); i++)
		argument[i] = i < 16 ? i : 0;
	srand48(atol(argv[1]));
	for (long left = atol(argv[2]); left > 0; left--) {
		struct timespec keep = { 0, LEAST_NS + (long)(drand48() * SPAN_NS) };
		long long before, after, before_close;
		int uvm = open("uvm", O_RDWR);

		if (uvm < 0)
			return 1;
		before = now_ns();
		ioctl(uvm, REGISTER_GPU, argument); // a stand-in refuses it; the probe counts it all the same
		after = now_ns();
		nanosleep(&keep, NULL);
		before_close = now_ns();
		close(uvm);
		printf("%lld %lld %lld %lld\n", before, after, before_close, now_ns());
	}
	return 0;
}
