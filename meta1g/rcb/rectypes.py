"""RT: the number of every record, in one table.

Names follow MeTA1's scheme `RT_<from>2<to>_<what>` (S smtps, Q qmgr, C smtpc, A smar, M mcp, K control); the numbers
are ours.  A number is never used again for another meaning; each direction has a range of its own.

Ref: MeTA1 design, "Functional Specification: IPC record format" (names modelled on MeTA1's).
"""

from enum import IntEnum, unique


@unique
class RT(IntEnum):
    """Record types."""

    # every connection
    PROT_VER = 0x0001

    # fields that several directions share: 0x0100
    SERVER_ADDR = 0x0100
    SERVER_PORT = 0x0101
    SERVER_PREF = 0x0102
    SERVER_TTL = 0x0103
    SERVER_HOST = 0x0104
    SERVER_CONF = 0x0105

    # smtps -> qmgr: 0x1000
    S2Q_NID = 0x1000
    S2Q_ID = 0x1001
    S2Q_NAME = 0x1002
    S2Q_MAXTHRDS = 0x1003
    S2Q_PID = 0x1004
    S2Q_NSEID = 0x1010
    S2Q_SEID = 0x1011
    S2Q_CLTADDR = 0x1012
    S2Q_CSEID = 0x1013
    S2Q_NTAID = 0x1020
    S2Q_TAID = 0x1021
    S2Q_MAIL = 0x1022
    S2Q_SIZE = 0x1023
    S2Q_BODY = 0x1024
    S2Q_SMTPUTF8 = 0x1025
    S2Q_RET = 0x1026
    S2Q_ENVID = 0x1027
    S2Q_AUTH = 0x1028
    S2Q_REQUIRETLS = 0x1029
    S2Q_VERP = 0x102A
    S2Q_RCPT = 0x1030
    S2Q_RCPT_IDX = 0x1031
    S2Q_RCPT_PA = 0x1032
    S2Q_NOTIFY = 0x1033
    S2Q_ORCPT = 0x1034
    S2Q_CTAID = 0x1040
    S2Q_CDBID = 0x1041
    S2Q_CDBSIZE = 0x1042
    S2Q_RCPTS = 0x1043
    S2Q_CDBSUM = 0x1044
    S2Q_AUTOMATIC = 0x1045
    S2Q_HOLD = 0x1046
    S2Q_DTAID = 0x1050
    S2Q_CONTAINED = 0x1060
    S2Q_COUNT = 0x1061
    S2Q_LAST = 0x1062
    S2Q_COUNT_EVENT = 0x1070
    S2Q_EVENT = 0x1071
    S2Q_VERIFY = 0x1072
    S2Q_ADDRESS = 0x1073

    # qmgr -> smtps: 0x1800
    Q2S_HELLO = 0x1800
    Q2S_THRDS = 0x1801
    Q2S_COUNTS = 0x1802
    Q2S_STAT = 0x1810
    Q2S_REPLY = 0x1814
    Q2S_REFUSED = 0x1820
    Q2S_TAID = 0x1821
    Q2S_NTHRDS = 0x1830
    Q2S_THRDST = 0x1831

    # smtpc -> qmgr: 0x2000
    C2Q_NID = 0x2000
    C2Q_ID = 0x2001
    C2Q_PID = 0x2002
    C2Q_MAXTHRDS = 0x2003
    C2Q_RESULT = 0x2010
    C2Q_SEID = 0x2011
    C2Q_TAID = 0x2012
    C2Q_SEOPEN = 0x2019
    C2Q_RCPTS = 0x2020
    C2Q_RCPT_IDX = 0x2021
    C2Q_TLS = 0x2026
    C2Q_DSN = 0x2027
    C2Q_DAMAGE = 0x2028
    C2Q_SEREPLY = 0x2029
    C2Q_TAREPLY = 0x202A
    C2Q_RCPT_REPLY = 0x202B
    C2Q_RCPT_RETRY = 0x202C
    C2Q_SECLSD = 0x2030
    C2Q_CONTAINED = 0x2040
    C2Q_COUNT = 0x2041
    C2Q_LAST = 0x2042

    # qmgr -> smtpc: 0x2800
    Q2C_HELLO = 0x2800
    Q2C_DELIVER = 0x2810
    Q2C_SEID = 0x2811
    Q2C_NSEID = 0x2812
    Q2C_ONESEID = 0x2813
    Q2C_DA_IDX = 0x2814
    Q2C_SERVER = 0x2815
    Q2C_NTAID = 0x2816
    Q2C_TAID = 0x2817
    Q2C_CDBID = 0x2818
    Q2C_MAIL = 0x2819
    Q2C_SIZE = 0x281A
    Q2C_BODY = 0x281B
    Q2C_SMTPUTF8 = 0x281C
    Q2C_RET = 0x281D
    Q2C_ENVID = 0x281E
    Q2C_B_MSG = 0x281F
    Q2C_B_FULL = 0x2821
    Q2C_B_PARTS = 0x2825
    Q2C_B_TYPE = 0x2826
    Q2C_B_ABOUT = 0x2827
    Q2C_B_DATA = 0x2828
    Q2C_REQUIRETLS = 0x2822
    Q2C_CDBSUM = 0x2823
    Q2C_CDBSIZE = 0x2824
    Q2C_RCPTS = 0x2830
    Q2C_RCPT_IDX = 0x2831
    Q2C_RCPT_PA = 0x2832
    Q2C_NOTIFY = 0x2833
    Q2C_ORCPT = 0x2834
    Q2C_CSEID = 0x2840
    Q2C_PROBE = 0x2841

    # smtps -> smar: 0x3000
    S2A_NID = 0x3000
    S2A_ID = 0x3001
    S2A_CLIENT = 0x3010
    S2A_SEID = 0x3011
    S2A_CLTADDR = 0x3012
    S2A_CLTNAME = 0x3013
    S2A_LFLAGS = 0x3014
    S2A_MAIL = 0x3020
    S2A_TAID = 0x3021
    S2A_MAIL_PA = 0x3022
    S2A_RCPT = 0x3030
    S2A_RCPT_IDX = 0x3031
    S2A_RCPT_PA = 0x3032
    S2A_CONF = 0x3033
    S2A_EHLO = 0x3034

    # smar -> smtps: 0x3800
    A2S_HELLO = 0x3800
    A2S_CHECKS = 0x3801
    A2S_STAT = 0x3810
    A2S_FLAGS = 0x3814
    A2S_REPLY = 0x3815
    A2S_CLIENT = 0x3820
    A2S_CLTNAME = 0x3821
    A2S_RESOLVE = 0x3822
    A2S_SESSCONF = 0x3823
    A2S_RULE = 0x3828

    # qmgr -> smar: 0x4000
    Q2A_NID = 0x4000
    Q2A_PID = 0x4001
    Q2A_RESOLVE = 0x4010
    Q2A_TAID = 0x4011
    Q2A_RCPT_IDX = 0x4012
    Q2A_RCPT = 0x4013
    Q2A_FLAGS = 0x4014
    Q2A_OFFSET = 0x4015
    Q2A_EXPANSION = 0x4016

    # smar -> qmgr: 0x4800
    A2Q_HELLO = 0x4800
    A2Q_BY_DOMAIN = 0x4801
    A2Q_ROUTE = 0x4810
    A2Q_DA = 0x4811
    A2Q_SERVERS = 0x4812
    A2Q_ALIAS = 0x4820
    A2Q_MEMBERS = 0x4821
    A2Q_MEMBER = 0x4822
    A2Q_OWNER = 0x4823
    A2Q_MORE = 0x4824
    A2Q_OFFSET = 0x4825
    A2Q_EXPANSION = 0x4826
    A2Q_FAIL = 0x4830
    A2Q_REPLY = 0x4834
    A2Q_CONTAINED = 0x4840
    A2Q_COUNT = 0x4841
    A2Q_LAST = 0x4842

    # mcp <-> its children: 0x5000, 0x5800
    M2S_FD = 0x5000
    M2S_NAME = 0x5001
    M2S_INDEX = 0x5002
    M2S_COUNT = 0x5003
    S2M_FD = 0x5800
    S2M_STATV = 0x5801
    S2M_STATT = 0x5802

    # control client -> server: 0x6000, server -> client: 0x6800
    K2Q_COMMAND = 0x6000
    K2Q_WORDS = 0x6001
    K2Q_WORD = 0x6002
    Q2K_RESULT = 0x6800
    Q2K_EXIT = 0x6801
    Q2K_TEXT = 0x6802
    Q2K_MORE = 0x6803

    # records on disk (IBDB, DEFEDB): 0x7000
    D_TA = 0x7000
    D_TAID = 0x7001
    D_CDBID = 0x7002
    D_MAIL = 0x7003
    D_SIZE = 0x7004
    D_ENTERED = 0x7005
    D_RCPTS = 0x7006
    D_BODY = 0x7007
    D_SMTPUTF8 = 0x7008
    D_RET = 0x7009
    D_ENVID = 0x700A
    D_REQUIRETLS = 0x700B
    D_HOLD = 0x700C
    D_CDBSUM = 0x700D
    D_AUTOMATIC = 0x700E
    D_RCPT = 0x7010
    D_RCPT_IDX = 0x7011
    D_RCPT_PA = 0x7012
    D_NOTIFY = 0x7013
    D_ORCPT = 0x7014
    D_FLAGS = 0x7015
    D_TRIES = 0x7016
    D_LAST_TRY = 0x7017
    D_NEXT_TRY = 0x7018
    D_SENDER = 0x701D
    D_ORIG_RCPT = 0x701E
    D_REPLY = 0x701F
    D_FAILED = 0x7020
    D_EXPIRED = 0x7021
    D_ATTEMPTS = 0x7027
    D_ATTEMPT_REPLY = 0x7022
    D_ATTEMPT_COUNT = 0x7023
    D_ATTEMPT_FIRST = 0x7024
    D_ATTEMPT_LAST = 0x7025
    D_ATTEMPT_SERVER = 0x7026
    D_VERIFIED = 0x7028
    D_VERIFIED_AT = 0x7029
    D_DONE = 0x7030
    D_TADONE = 0x7031
    D_CANCEL = 0x7032
