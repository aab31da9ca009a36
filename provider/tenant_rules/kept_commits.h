// Between the two files of the library.
#ifndef SPG99_KEPT_COMMITS_H
#define SPG99_KEPT_COMMITS_H

#include "nodes/parsenodes.h"

// As spg99/protocol/safekeeper.py has them; tests/unit/protocol/test_safekeeper_names.py compares.
#define SPG99_SAFEKEEPER_ROLE "spg99_safekeeper"
#define SPG99_SAFEKEEPER_PREFIX "spg99_sk_"

extern void spg99_keep_commits(void);
extern bool spg99_finishes_prepared(Node *statement);
extern void spg99_begin_commit(void);
extern void spg99_end_commit(void);

#endif
