/*
 * A fake libnvidia-ml.so.1, for tests on machines without a GPU. It stands behind the real
 * nvidia-ml-py and reads its scenario from the file $WHENCE_FAKE_NVML at each call, so that a test
 * scripts time by writing that file. One statement a line, words split by blanks:
 *
 *   gpu UUID MINOR MEMORY_MB NAME...     one GPU; the order of lines is NVML's order
 *   set INDEX util|energy|used_mb|gpm_sm|gpm_tensor|gpm|mig VALUE
 *   mig INDEX UUID COMPUTE_SLICES MEMORY_MB
 *   process PLACE PID MEMORY_MB [mps]    PLACE: INDEX, or INDEX/MIG_NUMBER
 *   work INDEX PID SM TIME_US            a sample of a process's share of the SMs
 *   xid INDEX CODE NUMBER                a fault, told once for each NUMBER that grows
 *   error CALL CODE                      the call answers this nvmlReturn_t
 *   slow CALL MILLISECONDS
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, TIMED_OUT = 10 };
#define GPUS 8
#define ROWS 64

struct process { unsigned pid; unsigned long long memory; int mps, mig; };
struct work { unsigned pid, sm; unsigned long long at_us; };
struct mig { char uuid[96]; unsigned compute; unsigned long long memory_mb; int parent, number; };
struct gpu {
	char uuid[96], name[96];
	int index, minor, util, gpm, gpm_sm, gpm_tensor, mig_mode, mig_count, processes, works;
	unsigned long long memory_mb, used_mb, energy;
	struct mig migs[7];
	struct process process[ROWS];
	struct work work[ROWS];
};
static struct gpu gpus[GPUS];
static int gpu_count, xid_number, xid_seen, xid_gpu, xid_code;
static int forced;

/* Reads the scenario; gives what the call has to answer, 0 for its ordinary work. */
static int scene(const char *call)
{
	const char *path = getenv("WHENCE_FAKE_NVML");
	FILE *file = path ? fopen(path, "r") : NULL;
	char line[512], a[128], b[128];
	int index, value, answer = 0;
	unsigned long long number;

	memset(gpus, 0, sizeof(gpus));
	gpu_count = 0;
	if (!file)
		return 9; /* NVML_ERROR_DRIVER_NOT_LOADED */
	while (fgets(line, sizeof(line), file)) {
		struct gpu *g = &gpus[gpu_count < GPUS ? gpu_count : GPUS - 1];
		int used = 0;

		if (sscanf(line, "gpu %95s %d %llu %n", a, &value, &number, &used) == 3) {
			strcpy(g->uuid, a);
			line[strcspn(line, "\n")] = 0;
			snprintf(g->name, sizeof(g->name), "%.95s", line + used);
			g->index = gpu_count++;
			g->minor = value;
			g->memory_mb = number;
			g->util = -1;
			g->energy = ~0ULL;
		} else if (sscanf(line, "set %d %127s %llu", &index, a, &number) == 3) {
			g = &gpus[index];
			if (!strcmp(a, "util")) g->util = number;
			if (!strcmp(a, "energy")) g->energy = number;
			if (!strcmp(a, "used_mb")) g->used_mb = number;
			if (!strcmp(a, "gpm")) g->gpm = number;
			if (!strcmp(a, "gpm_sm")) g->gpm_sm = number;
			if (!strcmp(a, "gpm_tensor")) g->gpm_tensor = number;
			if (!strcmp(a, "mig")) g->mig_mode = number;
		} else if (sscanf(line, "mig %d %95s %d %llu", &index, a, &value, &number) == 4) {
			g = &gpus[index];
			struct mig *m = &g->migs[g->mig_count];
			strcpy(m->uuid, a);
			m->compute = value;
			m->memory_mb = number;
			m->parent = index;
			m->number = g->mig_count++;
		} else if (!strncmp(line, "process ", 8)) {
			int mig = -1;
			unsigned pid;

			b[0] = 0;
			if (sscanf(line, "process %d/%d %u %llu %127s", &index, &mig, &pid, &number, b) < 4) {
				mig = -1;
				sscanf(line, "process %d %u %llu %127s", &index, &pid, &number, b);
			}
			g = &gpus[index];
			g->process[g->processes++] = (struct process){
				pid, number << 20, !strcmp(b, "mps"), mig };
		} else if (!strncmp(line, "work ", 5)) {
			struct work w;

			sscanf(line, "work %d %u %u %llu", &index, &w.pid, &w.sm, &w.at_us);
			g = &gpus[index];
			g->work[g->works++] = w;
		} else if (sscanf(line, "xid %d %d %d", &xid_gpu, &xid_code, &xid_number) == 3) {
			;
		} else if (sscanf(line, "error %127s %d", a, &value) == 2 && !strcmp(a, call)) {
			answer = value;
		} else if (sscanf(line, "slow %127s %d", a, &value) == 2 && !strcmp(a, call)) {
			usleep(value * 1000);
		}
	}
	fclose(file);
	return answer;
}

#define CALL(name, ...) \
	int name(__VA_ARGS__); \
	int name(__VA_ARGS__)
#define BEGIN() do { if ((forced = scene(__func__))) return forced; } while (0)

/* A handle is 1 + index for a GPU, 100 + 10 * index + number for a MIG instance. */
static struct gpu *gpu_at(long handle) { return &gpus[handle >= 100 ? (handle - 100) / 10 : handle - 1]; }
static struct mig *mig_at(long handle)
{
	return handle >= 100 ? &gpu_at(handle)->migs[(handle - 100) % 10] : NULL;
}

CALL(nvmlInitWithFlags, unsigned flags) { (void)flags; BEGIN(); return SUCCESS; }
CALL(nvmlInit_v2, void) { BEGIN(); return SUCCESS; }
CALL(nvmlShutdown, void) { return SUCCESS; }
const char *nvmlErrorString(int code);
const char *nvmlErrorString(int code)
{
	static char text[64];

	snprintf(text, sizeof(text), "fake NVML answers %d", code);
	return text;
}
CALL(nvmlSystemGetDriverVersion, char *text, unsigned length)
{
	BEGIN();
	snprintf(text, length, "595.45.04");
	return SUCCESS;
}
CALL(nvmlDeviceGetCount_v2, unsigned *count) { BEGIN(); *count = gpu_count; return SUCCESS; }
CALL(nvmlDeviceGetHandleByIndex_v2, unsigned index, long *handle)
{
	BEGIN();
	if ((int)index >= gpu_count)
		return INVALID;
	*handle = index + 1;
	return SUCCESS;
}
CALL(nvmlDeviceGetUUID, long handle, char *text, unsigned length)
{
	BEGIN();
	snprintf(text, length, "%s", mig_at(handle) ? mig_at(handle)->uuid : gpu_at(handle)->uuid);
	return SUCCESS;
}
CALL(nvmlDeviceGetName, long handle, char *text, unsigned length)
{
	BEGIN();
	snprintf(text, length, "%s", gpu_at(handle)->name);
	return SUCCESS;
}
CALL(nvmlDeviceGetMinorNumber, long handle, unsigned *minor)
{
	BEGIN();
	*minor = gpu_at(handle)->minor;
	return SUCCESS;
}
struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char text[32]; };
CALL(nvmlDeviceGetPciInfo_v3, long handle, struct pci *pci)
{
	BEGIN();
	snprintf(pci->text, sizeof(pci->text), "00000000:%02X:00.0", 0x10 + gpu_at(handle)->index);
	return SUCCESS;
}
struct memory { unsigned long long total, free, used; };
CALL(nvmlDeviceGetMemoryInfo, long handle, struct memory *memory)
{
	BEGIN();
	memory->total = gpu_at(handle)->memory_mb << 20;
	memory->used = gpu_at(handle)->used_mb << 20;
	memory->free = memory->total - memory->used;
	return SUCCESS;
}
struct rates { unsigned gpu, memory; };
CALL(nvmlDeviceGetUtilizationRates, long handle, struct rates *rates)
{
	BEGIN();
	if (gpu_at(handle)->util < 0 || gpu_at(handle)->mig_mode)
		return NOT_SUPPORTED;
	rates->gpu = gpu_at(handle)->util;
	return SUCCESS;
}
CALL(nvmlDeviceGetTotalEnergyConsumption, long handle, unsigned long long *energy)
{
	BEGIN();
	if (gpu_at(handle)->energy == ~0ULL)
		return NOT_SUPPORTED;
	*energy = gpu_at(handle)->energy;
	return SUCCESS;
}
struct info { unsigned pid; unsigned long long memory; unsigned gi, ci; };
static int list(long handle, unsigned *count, struct info *rows, int mps)
{
	struct gpu *g = gpu_at(handle);
	unsigned room = *count, found = 0;

	for (int i = 0; i < g->processes; i++) {
		struct process *p = &g->process[i];

		if (p->mps != mps || (mig_at(handle) ? p->mig != mig_at(handle)->number : p->mig >= 0))
			continue;
		if (rows && found < room)
			rows[found] = (struct info){ p->pid, p->memory, ~0u, ~0u };
		found++;
	}
	*count = found;
	if (!found)
		return SUCCESS;
	return rows && found <= room ? SUCCESS : TOO_SMALL;
}
CALL(nvmlDeviceGetComputeRunningProcesses_v3, long handle, unsigned *count, struct info *rows)
{
	BEGIN();
	return list(handle, count, rows, 0);
}
CALL(nvmlDeviceGetMPSComputeRunningProcesses_v3, long handle, unsigned *count, struct info *rows)
{
	BEGIN();
	return list(handle, count, rows, 1);
}
struct sample { unsigned pid; unsigned long long at_us; unsigned sm, memory, encode, decode; };
CALL(nvmlDeviceGetProcessUtilization, long handle, struct sample *rows, unsigned *count,
     unsigned long long since_us)
{
	struct gpu *g = gpu_at(handle);

	BEGIN();
	if (g->mig_mode)
		return NOT_SUPPORTED;
	if (!rows) {
		*count = 100; /* the driver's answer, however few there are */
		return TOO_SMALL;
	}
	memset(rows, 0xab, sizeof(*rows) * *count); /* rows beyond the last hold garbage */
	*count = 0;
	for (int i = 0; i < g->works; i++)
		if (g->work[i].at_us > since_us)
			rows[(*count)++] = (struct sample){ g->work[i].pid, g->work[i].at_us,
							    g->work[i].sm, 0, 0, 0 };
	if (!*count)
		return NOT_FOUND;
	return SUCCESS;
}
CALL(nvmlDeviceGetMigMode, long handle, unsigned *now, unsigned *then)
{
	BEGIN();
	*now = *then = gpu_at(handle)->mig_mode;
	return SUCCESS;
}
CALL(nvmlDeviceGetMaxMigDeviceCount, long handle, unsigned *count)
{
	(void)handle;
	BEGIN();
	*count = 7;
	return SUCCESS;
}
CALL(nvmlDeviceGetMigDeviceHandleByIndex, long handle, unsigned index, long *found)
{
	BEGIN();
	if ((int)index >= gpu_at(handle)->mig_count)
		return NOT_FOUND;
	*found = 100 + 10 * (handle - 1) + index;
	return SUCCESS;
}
struct attributes { unsigned sms, copy, decode, encode, jpeg, ofa, gi, ci; unsigned long long memory_mb; };
CALL(nvmlDeviceGetAttributes_v2, long handle, struct attributes *found)
{
	BEGIN();
	if (!mig_at(handle))
		return INVALID;
	found->gi = found->ci = mig_at(handle)->compute;
	found->memory_mb = mig_at(handle)->memory_mb;
	return SUCCESS;
}
struct support { unsigned version, supported; };
CALL(nvmlGpmQueryDeviceSupport, long handle, struct support *found)
{
	BEGIN();
	found->supported = gpu_at(handle)->gpm;
	return SUCCESS;
}
CALL(nvmlGpmSampleAlloc, void **sample) { BEGIN(); *sample = calloc(1, 64); return SUCCESS; }
CALL(nvmlGpmSampleFree, void *sample) { free(sample); return SUCCESS; }
CALL(nvmlGpmSampleGet, long handle, long *sample) { BEGIN(); *sample = handle; return SUCCESS; }
struct metric { unsigned id, answer; double value; const char *names[3]; };
struct gpm { unsigned version, count; long *before, *now; struct metric metric[]; };
CALL(nvmlGpmMetricsGet, struct gpm *wanted)
{
	BEGIN();
	for (unsigned i = 0; i < wanted->count; i++) {
		struct gpu *g = gpu_at(*wanted->now);

		wanted->metric[i].value = wanted->metric[i].id == 2 ? g->gpm_sm : g->gpm_tensor;
		wanted->metric[i].answer = SUCCESS;
	}
	return SUCCESS;
}
CALL(nvmlEventSetCreate, void **set) { BEGIN(); *set = calloc(1, 8); return SUCCESS; }
CALL(nvmlDeviceRegisterEvents, long handle, unsigned long long types, void *set)
{
	(void)handle, (void)types, (void)set;
	BEGIN();
	return SUCCESS;
}
struct event { long handle; unsigned long long type, code; unsigned gi, ci; };
CALL(nvmlEventSetWait_v2, void *set, struct event *event, unsigned timeout_ms)
{
	(void)set, (void)timeout_ms;
	BEGIN();
	if (xid_number <= xid_seen)
		return TIMED_OUT;
	xid_seen = xid_number;
	*event = (struct event){ xid_gpu + 1, 8, xid_code, ~0u, ~0u };
	return SUCCESS;
}
