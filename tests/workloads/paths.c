// SPDX-License-Identifier: Apache-2.0
/* Names that are hard to write down. */
#include "workload.h"

static void odd(void)
{
	must(write(open_file("two\nlines", O_WRONLY | O_CREAT), "x", 1));
	must(rename("two\nlines", "caf\xe9 \xff"));
	must(unlink("caf\xe9 \xff"));
}

/* words[0]: folders below each other; words[1]: bytes of each one's name. */
static void deep(void)
{
	int length = atoi(words[1]);
	char *name = malloc(length + 1);

	memset(name, 'd', length);
	name[length] = 0;
	for (int left = atoi(words[0]); left; left--) {
		must(mkdir(name, 0755));
		must(chdir(name));
	}
	must(write(open_file("data", O_WRONLY | O_CREAT), "x", 1));
	must(rename("data", "moved"));
}

BEHAVIOURS({ "odd", odd }, { "deep", deep })
