// What a session may not do to the promise that an acknowledged commit is kept by safekeepers.
//
// Here: no client is told "committed" while its commit waits for safekeepers, and nobody but a safekeeper is called like one. Not here: the other
// rules of a tenant (tenant_rules.c), which safekeepers a compute waits for (node/safekeepers.py).
//
// PostgreSQL ends the wait at a cancel, and then says to the client that it has committed, with a warning (syncrep.c, SyncRepWaitForLSN). So from
// the moment at which a transaction can only commit until it has, a cancel of its session is not heard. It is still ended by a termination,
// which says nothing of success.
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "kept_commits.h"
#include "libpq/auth.h"
#include "libpq/libpq-be.h"
#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "replication/syncrep.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/guc_tables.h"

static ClientAuthentication_hook_type next_authentication;
static GucStringCheckHook next_application_name;
static volatile sig_atomic_t commits;

static void heard_cancel(SIGNAL_ARGS)
{
    if (!commits && !(MyProc && MyProc->syncRepState == SYNC_REP_WAITING))
        StatementCancelHandler(postgres_signal_arg);
}

// One that came just before is of a statement that has ended by now.
static void begin_commit(void)
{
    commits = true;
    QueryCancelPending = false;
}

static void transaction_moves(XactEvent event, void *unused)
{
    if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
        begin_commit();
    else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE || event == XACT_EVENT_ABORT)
        commits = false;
}

// COMMIT PREPARED and ROLLBACK PREPARED wait inside of the statement.
bool spg99_finishes_prepared(Node *statement)
{
    if (!IsA(statement, TransactionStmt))
        return false;
    switch (castNode(TransactionStmt, statement)->kind)
    {
    case TRANS_STMT_COMMIT_PREPARED:
    case TRANS_STMT_ROLLBACK_PREPARED:
        return true;
    default:
        return false;
    }
}

void spg99_begin_commit(void) { begin_commit(); }

void spg99_end_commit(void) { commits = false; }

static void authenticated(Port *port, int status)
{
    if (next_authentication)
        next_authentication(port, status);
    pqsignal(SIGINT, heard_cancel);
}

static bool may_be_called(char **name, void **extra, GucSource source)
{
    if (MyProcPort && MyProcPort->user_name && strcmp(MyProcPort->user_name, SPG99_SAFEKEEPER_ROLE) != 0 &&
        pg_strncasecmp(*name, SPG99_SAFEKEEPER_PREFIX, strlen(SPG99_SAFEKEEPER_PREFIX)) == 0)
    {
        GUC_check_errmsg("application_name may not begin with \"%s\"", SPG99_SAFEKEEPER_PREFIX);
        GUC_check_errdetail("Safekeepers are called so, and commits wait for who is.");
        return false;
    }
    return next_application_name == NULL || next_application_name(name, extra, source);
}

void spg99_keep_commits(void)
{
    struct config_string *name = (struct config_string *)find_option("application_name", false, false, FATAL);

    next_application_name = name->check_hook;
    name->check_hook = may_be_called;
    next_authentication = ClientAuthentication_hook;
    ClientAuthentication_hook = authenticated;
    RegisterXactCallback(transaction_moves, NULL);
}
