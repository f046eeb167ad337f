#include "process.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "util.h"

Processes processes_parse(const char *text) {
    Processes p = {.count = 0};
    while (*text) {
        char *end;
        long pid = strtol(text, &end, 10);
        if (end == text || pid <= 0 || p.count == MAX_PIDS) die("bad list of process ids: %s", text);
        p.pids[p.count++] = (int)pid;
        text = *end == ',' ? end + 1 : end;
    }
    return p;
}

static double resident_pages(int pid) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "r");
    long size, resident;
    if (!file || fscanf(file, "%ld %ld", &size, &resident) != 2) die("process %d is gone", pid);
    fclose(file);
    return (double)resident;
}

// The clock of another process counts nanoseconds of all its threads; /proc/PID/stat counts in steps of 10 ms.
double process_cpu(int pid) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) die("process %d is gone", pid);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

double process_user_cpu(int pid) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof line, file)) die("process %d is gone", pid);
    fclose(file);
    // The fourteenth field; the second one, a name in brackets, may hold anything.
    const char *rest = strrchr(line, ')');
    unsigned long ticks;
    if (!rest || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu", &ticks) != 1) die("no times of process %d", pid);
    return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

double processes_rss(const Processes *p) {
    double pages = 0;
    for (int i = 0; i < p->count; i++) pages += resident_pages(p->pids[i]);
    return pages * (double)sysconf(_SC_PAGESIZE) / 1024;
}

double own_cpu(void) {
    struct rusage r;
    getrusage(RUSAGE_SELF, &r);
    return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) + 1e-6 * (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}
