// What the kernel says about processes: processor time and resident memory.
#ifndef PROCESS_H
#define PROCESS_H

#define MAX_PIDS 64

typedef struct {
    int pids[MAX_PIDS];
    int count;
} Processes;

// "12,34" to a list. Fails on anything that is not a number.
Processes processes_parse(const char *text);
// Seconds of processor time of one process, all threads; ends the program when the process is gone.
double process_cpu(int pid);
// The part of it that was not the kernel's, in steps of 10 ms: says something over several seconds.
double process_user_cpu(int pid);
// Resident memory of all of them, in KiB.
double processes_rss(const Processes *p);
// Seconds of processor time of this program.
double own_cpu(void);

#endif
