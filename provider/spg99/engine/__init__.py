"""The embedded engine: runs a Pulumi program where no Pulumi CLI is. Not here: anything about our own resources.

    cli, cli_stacks, cli_options   commands            display, difference   what people see
    operations, run, stacks        one run, all stacks events, failure       what a run tells, and why a step failed
    settling                       what a killed run left open
    program, nodejs, yaml_program  the user's program, in its language
    monitor, wanted                the program's requests, from the wire
    registration, reading, deletion, refresh, importing      carrying them out
    decide, graph, paths, autonaming   pure rules      values, urns          words of Pulumi's protocols
    providers, provider, plugins   who does the work   children, child, interrupt   processes and their end
    workspace, project, backend, lock, state, snapshot, crypt   what lies on disk

State is in Pulumi's file backend, in the folder that `--backend`, PULUMI_BACKEND_URL, Pulumi.yaml's `backend.url` or `pulumi
login` names, else in `file://~` (what `pulumi login --local` means), so that `pulumi` and this engine can take turns.
"""
