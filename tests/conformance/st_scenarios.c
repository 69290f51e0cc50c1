/*
 * Runs scenarios against the State Threads library and prints what each call gave.
 *
 *   st_scenarios FILE        each scenario in a process of its own; `== name` goes before each trace
 *
 * The language is told at the beginning of scenarios.txt; run_python.py is the same for meta1g.st.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <st.h>

#define WORDS 8
#define CALLS 40
#define SCRIPTS 9
#define BIG 4000000

struct call { char *word[WORDS]; int count; };
struct script { char *name; struct call calls[CALLS]; int count; st_thread_t thread; };

static struct script scripts[SCRIPTS];
static int script_count;
static st_cond_t conds[4];
static st_mutex_t mutexes[4];
static st_netfd_t fds[10];
static char big[BIG];
static char result[4096];

/* -- results ------------------------------------------------------------------------------------------------------------ */

static const struct { int number; const char *name; } errnos[] = {
	{ EINTR, "EINTR" }, { ETIME, "ETIME" }, { EBADF, "EBADF" }, { EINVAL, "EINVAL" }, { EDEADLK, "EDEADLK" },
	{ EBUSY, "EBUSY" }, { EPERM, "EPERM" }, { EAGAIN, "EAGAIN" }, { EPIPE, "EPIPE" }, { ENOENT, "ENOENT" },
	{ ECONNREFUSED, "ECONNREFUSED" }, { ECONNRESET, "ECONNRESET" }, { ENOTSOCK, "ENOTSOCK" }, { 0, NULL },
};

static const char *
errno_name(void)
{
	static char text[32];
	int i;

	for (i = 0; errnos[i].name != NULL; i++)
		if (errnos[i].number == errno)
			return errnos[i].name;
	snprintf(text, sizeof text, "errno %d", errno);
	return text;
}

/* The number, or the name of the error. */
static void
number(long n)
{
	if (n < 0)
		snprintf(result, sizeof result, "%s", errno_name());
	else
		snprintf(result, sizeof result, "%ld", n);
}

/* 0 for success, or the name of the error. */
static void
status(int failed)
{
	number(failed ? -1 : 0);
}

static void
text(const char *s)
{
	snprintf(result, sizeof result, "%s", s != NULL ? s : "none");
}

static void
bytes(const char *data, long n)
{
	if (n < 0)
		number(n);
	else
		snprintf(result, sizeof result, "'%.*s'", (int)n, data);
}

/* -- arguments ---------------------------------------------------------------------------------------------------------- */

static st_utime_t
us(const char *ms)
{
	return strcmp(ms, "-") == 0 ? ST_UTIME_NO_TIMEOUT : (st_utime_t)atoi(ms) * 1000;
}

#define NUM(i) atoi(c->word[i] + 1)
#define FD(i) fds[NUM(i)]
#define LAST us(c->word[c->count - 1])

static struct script *
script_of(const char *name)
{
	int i;

	for (i = 0; i < script_count; i++)
		if (strcmp(scripts[i].name, name) == 0)
			return &scripts[i];
	fprintf(stderr, "no thread %s\n", name);
	exit(2);
}

static int
events(const char *how)
{
	if (strcmp(how, "in") == 0)
		return POLLIN;
	if (strcmp(how, "out") == 0)
		return POLLOUT;
	return strcmp(how, "inout") == 0 ? POLLIN | POLLOUT : 0;
}

static void d0(void *value) { printf("destroy d0 %s\n", (char *)value); }
static void d1(void *value) { printf("destroy d1 %s\n", (char *)value); }

static void (*destructor(const char *name))(void *)
{
	return strcmp(name, "d0") == 0 ? d0 : strcmp(name, "d1") == 0 ? d1 : NULL;
}

static char *
value(char *word)
{
	return strcmp(word, "none") == 0 ? NULL : word;
}

/* Makes buffers of the sizes "2,3" or with the contents "ab,c"; gives their number. */
static int
vectors(const char *spec, struct iovec *iov, int sizes)
{
	static char space[16][64];
	char copy[256], *part, *rest = copy;
	int n = 0;

	snprintf(copy, sizeof copy, "%s", spec);
	while ((part = strsep(&rest, ",")) != NULL) {
		memset(space[n], 0, sizeof space[n]);
		if (!sizes)
			strcpy(space[n], part);
		iov[n].iov_base = space[n];
		iov[n].iov_len = sizes ? (size_t)atoi(part) : strlen(part);
		n++;
	}
	return n;
}

static struct sockaddr_in
address(st_netfd_t nfd)
{
	struct sockaddr_in sin;
	socklen_t length = sizeof sin;

	memset(&sin, 0, sizeof sin);
	getsockname(st_netfd_fileno(nfd), (struct sockaddr *)&sin, &length);
	return sin;
}

static st_netfd_t
bound(int type)
{
	struct sockaddr_in sin;
	int fd = socket(AF_INET, type, 0);

	memset(&sin, 0, sizeof sin);
	sin.sin_family = AF_INET;
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&sin, sizeof sin) < 0 || (type == SOCK_STREAM && listen(fd, 5) < 0))
		exit(2);
	return st_netfd_open_socket(fd);
}

/* -- calls on threads --------------------------------------------------------------------------------------------------- */

static void *run(void *arg);

static void c_print(struct call *c) { text(c->word[1]); }
static void c_usleep(struct call *c) { number(st_usleep(us(c->word[1]))); }
static void c_sleep(struct call *c) { number(st_sleep(atoi(c->word[1]))); }
static void c_interrupt(struct call *c) { st_thread_interrupt(script_of(c->word[1])->thread); text("done"); }

static void
c_create(struct call *c)
{
	struct script *s = script_of(c->word[1]);

	s->thread = st_thread_create(run, s, c->count == 2, 0);
	text("done");
}

static void
c_join(struct call *c)
{
	void *retval = NULL;

	if (st_thread_join(script_of(c->word[1])->thread, &retval) < 0)
		number(-1);
	else
		text(retval);
}

static void
c_self(struct call *c)
{
	int i;

	(void)c;
	for (i = 0; i < script_count; i++)
		if (scripts[i].thread == st_thread_self())
			text(scripts[i].name);
}

static void
c_busy(struct call *c)
{
	st_utime_t end = st_utime() + us(c->word[1]);

	while (st_utime() < end)
		;
	text("done");
}

/* -- calls on condition variables, mutexes, keys ------------------------------------------------------------------------- */

static void c_wait(struct call *c) { number(st_cond_wait(conds[NUM(1)])); }
static void c_timedwait(struct call *c) { number(st_cond_timedwait(conds[NUM(1)], LAST)); }
static void c_signal(struct call *c) { number(st_cond_signal(conds[NUM(1)])); }
static void c_broadcast(struct call *c) { number(st_cond_broadcast(conds[NUM(1)])); }
static void c_cond_destroy(struct call *c) { number(st_cond_destroy(conds[NUM(1)])); }
static void c_lock(struct call *c) { number(st_mutex_lock(mutexes[NUM(1)])); }
static void c_unlock(struct call *c) { number(st_mutex_unlock(mutexes[NUM(1)])); }
static void c_trylock(struct call *c) { number(st_mutex_trylock(mutexes[NUM(1)])); }
static void c_mutex_destroy(struct call *c) { number(st_mutex_destroy(mutexes[NUM(1)])); }
static void c_keylimit(struct call *c) { (void)c; number(st_key_getlimit()); }
static void c_setspecific(struct call *c) { number(st_thread_setspecific(atoi(c->word[1]), value(c->word[2]))); }
static void c_getspecific(struct call *c) { text(st_thread_getspecific(atoi(c->word[1]))); }

static void
c_key(struct call *c)
{
	int key = 0;

	number(st_key_create(&key, destructor(c->word[1])) < 0 ? -1 : key);
}

static void
c_keys(struct call *c)
{
	int key = 0, i;

	for (i = 0; i < atoi(c->word[1]); i++)
		if (st_key_create(&key, NULL) < 0)
			break;
	number(i);
}

/* -- making descriptors -------------------------------------------------------------------------------------------------- */

static void c_tcp(struct call *c) { FD(1) = bound(SOCK_STREAM); text("done"); }
static void c_udp(struct call *c) { FD(1) = bound(SOCK_DGRAM); text("done"); }
static void c_socket(struct call *c) { FD(1) = st_netfd_open_socket(socket(AF_INET, SOCK_STREAM, 0)); text("done"); }
static void c_close(struct call *c) { number(st_netfd_close(FD(1))); }
static void c_osclose(struct call *c) { number(close(st_netfd_fileno(FD(1)))); }

static void
c_pair(struct call *c)
{
	int sv[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, sv);
	FD(1) = st_netfd_open_socket(sv[0]);
	FD(2) = st_netfd_open_socket(sv[1]);
	text("done");
}

static void
c_pipe(struct call *c)
{
	int ends[2];

	if (pipe(ends) < 0)
		exit(2);
	FD(1) = st_netfd_open(ends[0]);
	FD(2) = st_netfd_open(ends[1]);
	text("done");
}

static void
c_fifo(struct call *c)
{
	char name[] = "/tmp/st-scenario-XXXXXX", path[64];

	if (mkdtemp(name) == NULL)
		exit(2);
	snprintf(path, sizeof path, "%s/fifo", name);
	mkfifo(path, 0600);
	FD(1) = st_open(path, O_RDONLY, 0);
	FD(2) = st_open(path, O_WRONLY, 0);
	unlink(path);
	rmdir(name);
	status(FD(1) == NULL || FD(2) == NULL);
}

static void c_open_missing(struct call *c) { (void)c; status(st_open("/nonexistent/file", O_RDONLY, 0) == NULL); }

static void
c_free_and_write(struct call *c)
{
	int fd = st_netfd_fileno(FD(1));

	st_netfd_free(FD(1));
	number(write(fd, c->word[2], strlen(c->word[2])));
}

static void c_netfd_getspecific(struct call *c) { text(st_netfd_getspecific(FD(1))); }

static void
c_netfd_setspecific(struct call *c)
{
	st_netfd_setspecific(FD(1), value(c->word[2]), destructor(c->word[3]));
	text("done");
}

/* -- connections ---------------------------------------------------------------------------------------------------------- */

static void
c_accept(struct call *c)
{
	st_netfd_t made = st_accept(FD(2), NULL, NULL, LAST);

	if (made != NULL)
		FD(1) = made;
	status(made == NULL);
}

static void
c_connect(struct call *c)
{
	struct sockaddr_in sin = address(FD(2));

	number(st_connect(FD(1), (struct sockaddr *)&sin, sizeof sin, LAST));
}

static void
c_connect_closed(struct call *c)
{
	struct sockaddr_in sin = address(FD(2));

	st_netfd_close(FD(2));
	number(st_connect(FD(1), (struct sockaddr *)&sin, sizeof sin, LAST));
}

static void
c_connect_unix(struct call *c)
{
	struct sockaddr_un sun;

	memset(&sun, 0, sizeof sun);
	sun.sun_family = AF_UNIX;
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", c->word[2]);
	FD(1) = st_netfd_open_socket(socket(AF_UNIX, SOCK_STREAM, 0));
	number(st_connect(FD(1), (struct sockaddr *)&sun, sizeof sun, LAST));
}

/* -- reading ---------------------------------------------------------------------------------------------------------------- */

static void
c_read(struct call *c)
{
	char buf[64];

	bytes(buf, st_read(FD(1), buf, atoi(c->word[2]), LAST));
}

static void
c_read_fully(struct call *c)
{
	char buf[64];

	bytes(buf, st_read_fully(FD(1), buf, atoi(c->word[2]), LAST));
}

static void
c_read_resid(struct call *c)
{
	char buf[64];
	size_t resid = atoi(c->word[2]);
	int rv = st_read_resid(FD(1), buf, &resid, LAST);

	snprintf(result, sizeof result, "%s, %d missing", rv < 0 ? errno_name() : "0", (int)resid);
}

static void
show(struct iovec *iov, int n, size_t total)
{
	size_t length = 0;
	int i;

	result[0] = '\0';
	for (i = 0; i < n; i++) {
		size_t here = iov[i].iov_len < total ? iov[i].iov_len : total;

		length += snprintf(result + length, sizeof result - length, "'%.*s'", (int)here, (char *)iov[i].iov_base);
		total -= here;
	}
}

static void
c_readv(struct call *c)
{
	struct iovec iov[16];
	int n = vectors(c->word[2], iov, 1);
	ssize_t rv = st_readv(FD(1), iov, n, LAST);

	if (rv < 0)
		number(-1);
	else
		show(iov, n, rv);
}

static void
sizes_left(int rv, struct iovec *iov, int n)
{
	size_t length;
	int i;

	length = snprintf(result, sizeof result, "%s, left", rv < 0 ? errno_name() : "0");
	for (i = 0; i < n; i++)
		length += snprintf(result + length, sizeof result - length, " %d", (int)iov[i].iov_len);
}

static void
c_readv_resid(struct call *c)
{
	struct iovec space[16], *iov = space;
	int n = vectors(c->word[2], iov, 1);
	int rv = st_readv_resid(FD(1), &iov, &n, LAST);

	sizes_left(rv, iov, n);
}

static void
c_drain(struct call *c)
{
	static char sink[BIG];

	number(st_read_fully(FD(1), sink, atoi(c->word[2]), LAST));
}

/* -- writing ---------------------------------------------------------------------------------------------------------------- */

static void c_write(struct call *c) { number(st_write(FD(1), c->word[2], strlen(c->word[2]), LAST)); }
static void c_write_big(struct call *c) { number(st_write(FD(1), big, atoi(c->word[2]), LAST)); }

static void
c_write_resid(struct call *c)
{
	size_t total = atoi(c->word[2]), resid = total;
	int rv = st_write_resid(FD(1), big, &resid, LAST);

	snprintf(result, sizeof result, "%s, %s left", rv < 0 ? errno_name() : "0",
	    resid == 0 ? "nothing" : resid == total ? "all" : "some");
}

static void
c_writev(struct call *c)
{
	struct iovec iov[16];
	int n = vectors(c->word[2], iov, 0);

	number(st_writev(FD(1), iov, n, LAST));
}

static void
c_writev_resid(struct call *c)
{
	struct iovec space[16], *iov = space;
	int n = vectors(c->word[2], iov, 0);
	int rv = st_writev_resid(FD(1), &iov, &n, LAST);

	sizes_left(rv, iov, n);
}

static void
c_fill(struct call *c)
{
	while (write(st_netfd_fileno(FD(1)), big, 4096) > 0)
		;
	while (write(st_netfd_fileno(FD(1)), big, 1) > 0)
		;
	text("full");
}

/* -- datagrams and messages ----------------------------------------------------------------------------------------------- */

static void
c_sendto(struct call *c)
{
	struct sockaddr_in sin = address(FD(2));

	number(st_sendto(FD(1), c->word[3], strlen(c->word[3]), (struct sockaddr *)&sin, sizeof sin, LAST));
}

static void
c_recvfrom(struct call *c)
{
	struct sockaddr_in from, sin;
	int length = sizeof from, n, i;
	char buf[64];

	memset(&from, 0, sizeof from);
	n = st_recvfrom(FD(1), buf, atoi(c->word[2]), (struct sockaddr *)&from, &length, LAST);
	bytes(buf, n);
	for (i = 0; n >= 0 && i < 10; i++) {
		if (fds[i] == NULL)
			continue;
		sin = address(fds[i]);
		if (sin.sin_port == from.sin_port)
			snprintf(result, sizeof result, "'%.*s' from f%d", n, buf, i);
	}
}

static void
c_sendmsg(struct call *c)
{
	struct iovec iov[16];
	struct msghdr msg;

	memset(&msg, 0, sizeof msg);
	msg.msg_iov = iov;
	msg.msg_iovlen = vectors(c->word[2], iov, 0);
	number(st_sendmsg(FD(1), &msg, 0, LAST));
}

static void
c_recvmsg(struct call *c)
{
	char buf[64];
	struct iovec iov = { buf, atoi(c->word[2]) };
	struct msghdr msg;

	memset(&msg, 0, sizeof msg);
	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	bytes(buf, st_recvmsg(FD(1), &msg, 0, LAST));
}

/* -- polling ---------------------------------------------------------------------------------------------------------------- */

static void c_netfd_poll(struct call *c) { number(st_netfd_poll(FD(1), events(c->word[2]), LAST)); }

static void
c_poll(struct call *c)
{
	struct pollfd pds[8];
	char copy[128], *part, *rest = copy;
	int n = 0, rv, i;
	size_t length;

	memset(pds, 0, sizeof pds);
	snprintf(copy, sizeof copy, "%s", c->word[1]);
	while (strcmp(c->word[1], "none") != 0 && (part = strsep(&rest, ",")) != NULL) {
		pds[n].fd = st_netfd_fileno(fds[part[1] - '0']);
		pds[n++].events = events(part + 3);
	}
	rv = st_poll(pds, n, LAST);
	number(rv);
	for (i = 0, length = strlen(result); rv > 0 && i < n; i++)
		length += snprintf(result + length, sizeof result - length, " %d", pds[i].revents);
}

/* -- the library -------------------------------------------------------------------------------------------------------------- */

static void out(void) { c_self(NULL); printf("out %s\n", result); }
static void in(void) { c_self(NULL); printf("in %s\n", result); }

static void
c_switch_cb(struct call *c)
{
	int on = strcmp(c->word[1], "on") == 0;

	st_set_switch_in_cb(on ? in : NULL);
	text(st_set_switch_out_cb(on ? out : NULL) == NULL ? "none before" : "one before");
}

static void c_init(struct call *c) { (void)c; number(st_init()); }
static void c_set_eventsys(struct call *c) { (void)c; number(st_set_eventsys(ST_EVENTSYS_ALT)); }
static void c_fdlimit(struct call *c) { (void)c; text(st_getfdlimit() > 0 ? "some" : "none"); }
static void c_timecache(struct call *c) { number(st_timecache_set(atoi(c->word[1]))); }
static void c_time(struct call *c) { (void)c; text(labs((long)(st_time() - time(NULL))) < 60 ? "now" : "another time"); }
static void c_serialize(struct call *c) { (void)c; number(st_netfd_serialize_accept(bound(SOCK_STREAM))); }

static void
c_utime(struct call *c)
{
	st_utime_t before = st_utime();

	(void)c;
	text(st_utime() >= before ? "goes on" : "goes back");
}

/* -- the interpreter ---------------------------------------------------------------------------------------------------------- */

#define CALL(name) { #name, c_##name }
static const struct { const char *name; void (*function)(struct call *); } table[] = {
	CALL(print), CALL(usleep), CALL(sleep), CALL(interrupt), CALL(create), CALL(join), CALL(self), CALL(busy),
	CALL(wait), CALL(timedwait), CALL(signal), CALL(broadcast), CALL(cond_destroy), CALL(lock), CALL(unlock),
	CALL(trylock), CALL(mutex_destroy), CALL(keylimit), CALL(setspecific), CALL(getspecific), CALL(key), CALL(keys),
	CALL(tcp), CALL(udp), CALL(socket), CALL(close), CALL(osclose), CALL(pair), CALL(pipe), CALL(fifo),
	CALL(open_missing), CALL(free_and_write), CALL(netfd_getspecific), CALL(netfd_setspecific), CALL(accept),
	CALL(connect), CALL(connect_closed), CALL(connect_unix), CALL(read), CALL(read_fully), CALL(read_resid), CALL(readv),
	CALL(readv_resid), CALL(drain), CALL(write), CALL(write_big), CALL(write_resid), CALL(writev), CALL(writev_resid),
	CALL(fill), CALL(sendto), CALL(recvfrom), CALL(sendmsg), CALL(recvmsg), CALL(netfd_poll), CALL(poll),
	CALL(switch_cb), CALL(init), CALL(set_eventsys), CALL(fdlimit), CALL(timecache), CALL(time), CALL(utime),
	CALL(serialize), { NULL, NULL },
};

static void
perform(struct script *s, struct call *c)
{
	int i;

	for (i = 0; table[i].name != NULL; i++)
		if (strcmp(table[i].name, c->word[0]) == 0)
			break;
	if (table[i].name == NULL) {
		fprintf(stderr, "no call %s\n", c->word[0]);
		exit(2);
	}
	table[i].function(c);
	printf("%s:", s->name);
	for (i = 0; i < c->count; i++)
		printf(" %s", c->word[i]);
	printf(" = %s\n", result);
}

static void *
run(void *arg)
{
	struct script *s = arg;
	int i;

	for (i = 0; i < s->count; i++) {
		if (strcmp(s->calls[i].word[0], "return") == 0)
			return s->calls[i].word[1];
		if (strcmp(s->calls[i].word[0], "exit") == 0)
			st_thread_exit(s->calls[i].word[1]);
		perform(s, &s->calls[i]);
	}
	return NULL;
}

static void
parse(char *line)
{
	struct script *s = &scripts[script_count++];
	char *part, *word;

	s->name = strsep(&line, ":");
	while ((part = strsep(&line, ";")) != NULL) {
		struct call *c = &s->calls[s->count++];

		while ((word = strsep(&part, " ")) != NULL)
			if (*word != '\0')
				c->word[c->count++] = word;
	}
}

static void
child(int file)
{
	int i;

	close(file); /* exit() would move its offset, which is the parent's too */
	signal(SIGALRM, SIG_DFL);
	alarm(10);
	st_set_eventsys(ST_EVENTSYS_ALT);
	st_init();
	for (i = 0; i < 4; i++) {
		conds[i] = st_cond_new();
		mutexes[i] = st_mutex_new();
	}
	script_of("main")->thread = st_thread_self();
	run(script_of("main"));
	exit(0);
}

static void
finish(const char *name, int file)
{
	int wstatus;

	printf("== %s\n", name);
	fflush(stdout);
	if (fork() == 0)
		child(file);
	wait(&wstatus);
	printf("ended %d\n", WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : -WTERMSIG(wstatus));
	memset(scripts, 0, sizeof scripts);
	script_count = 0;
}

int
main(int argc, char **argv)
{
	char line[1024], name[1024] = "";
	FILE *file;

	if (argc != 2 || (file = fopen(argv[1], "r")) == NULL)
		return 2;
	while (fgets(line, sizeof line, file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "== ", 3) == 0) {
			if (*name != '\0')
				finish(name, fileno(file));
			snprintf(name, sizeof name, "%s", line + 3);
		} else if (*line != '\0' && *line != '#' && strncmp(line, "python>", 7) != 0) {
			parse(strdup(line));
		}
	}
	if (*name != '\0')
		finish(name, fileno(file));
	return 0;
}
