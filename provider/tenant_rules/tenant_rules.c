// What a tenant's session may not do, in PostgreSQL's own hooks (shared_preload_libraries of every compute).
//
// Here: refusing a change of the role's password, which PostgreSQL allows every role and which would have no effect: the Gateway checks
// passwords against the catalogue. And the setting that says where the session's client is. Not here: rights that GRANT and pg_hba.conf
// can express (node/access.py).
#include "postgres.h"

#include "fmgr.h"
#include "kept_commits.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/acl.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

static ProcessUtility_hook_type next_hook;
static char *client_addr;

// Whether a role changes its own password; another's it may not, and PostgreSQL says so.
static bool changes_own_password(Node *statement)
{
    ListCell *cell;

    if (!IsA(statement, AlterRoleStmt) || get_rolespec_oid(castNode(AlterRoleStmt, statement)->role, true) != GetUserId())
        return false;
    foreach (cell, castNode(AlterRoleStmt, statement)->options)
        if (strcmp(lfirst_node(DefElem, cell)->defname, "password") == 0)
            return true;
    return false;
}

// Every statement that is not a query comes through here: sent by a client, or run in a DO block, a function, a transaction.
static void check_utility(PlannedStmt *statement, const char *text, bool read_only_tree, ProcessUtilityContext context,
                          ParamListInfo params, QueryEnvironment *environment, DestReceiver *receiver,
                          QueryCompletion *completion)
{
    // The agent works as superuser in single-user mode, and nobody else can be one.
    if (IsUnderPostmaster && changes_own_password(statement->utilityStmt))
        ereport(ERROR,
                (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
                 errmsg("the password of role \"%s\" cannot be changed in the database",
                        get_rolespec_name(castNode(AlterRoleStmt, statement->utilityStmt)->role)),
                 errdetail("It is one for all databases of the tenant and is checked before a connection reaches any of them. "
                           "Nothing was changed."),
                 errhint("Use \"spg99 tenants rotate-credentials TENANT\" for a new password, or the resource "
                         "TenantCredentials to bring one of your own.")));
    if (!spg99_finishes_prepared(statement->utilityStmt))
    {
        (next_hook ? next_hook : standard_ProcessUtility)(statement, text, read_only_tree, context, params, environment,
                                                          receiver, completion);
        return;
    }
    spg99_begin_commit();
    PG_TRY();
    {
        (next_hook ? next_hook : standard_ProcessUtility)(statement, text, read_only_tree, context, params, environment,
                                                          receiver, completion);
    }
    PG_FINALLY();
    {
        spg99_end_commit();
    }
    PG_END_TRY();
}

void _PG_init(void)
{
    if (!process_shared_preload_libraries_in_progress)
        return;
    DefineCustomStringVariable("spg99.client_addr", "Address of the session's client, as the Gateway knows it.",
                               "client_addr of pg_stat_activity is empty: the server sees only the Gateway.", &client_addr,
                               "", PGC_BACKEND, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
    spg99_keep_commits();
    next_hook = ProcessUtility_hook;
    ProcessUtility_hook = check_utility;
}
