/*
 * A milter that wants to hear everything and has nothing against it.
 *
 *     null_milter unix:PATH
 */
#include <libmilter/mfapi.h>
#include <stdio.h>
#include <string.h>

static sfsistat on_connect(SMFICTX *ctx, char *host, _SOCK_ADDR *addr) { return SMFIS_CONTINUE; }
static sfsistat on_helo(SMFICTX *ctx, char *name) { return SMFIS_CONTINUE; }
static sfsistat on_path(SMFICTX *ctx, char **words) { return SMFIS_CONTINUE; }
static sfsistat on_step(SMFICTX *ctx) { return SMFIS_CONTINUE; }
static sfsistat on_header(SMFICTX *ctx, char *name, char *value) { return SMFIS_CONTINUE; }
static sfsistat on_body(SMFICTX *ctx, unsigned char *chunk, size_t size) { return SMFIS_CONTINUE; }

int
main(int argc, char **argv)
{
	struct smfiDesc filter;

	if (argc != 2) {
		fprintf(stderr, "usage: null_milter SOCKET\n");
		return 64;
	}
	memset(&filter, 0, sizeof filter);
	filter.xxfi_name = "null";
	filter.xxfi_version = SMFI_VERSION;
	filter.xxfi_connect = on_connect;
	filter.xxfi_helo = on_helo;
	filter.xxfi_envfrom = on_path;
	filter.xxfi_envrcpt = on_path;
	filter.xxfi_header = on_header;
	filter.xxfi_eoh = on_step;
	filter.xxfi_body = on_body;
	filter.xxfi_eom = on_step;
	filter.xxfi_data = on_step;
	if (smfi_setconn(argv[1]) != MI_SUCCESS || smfi_register(filter) != MI_SUCCESS)
		return 69;
	return smfi_main() == MI_SUCCESS ? 0 : 70;
}
