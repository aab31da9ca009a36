"""Programs written in YAML, evaluated by this engine itself, in Pulumi YAML's language.

    source                      text -> values that know their line
    expressions, document       values -> what is declared; every mistake of the text is found here, all at once
    evaluate, functions         what an expression is worth, with secrets and unknowns kept
    settings                    declared configuration
    run                         the order of things, and registering them with the monitor as any program does

Not here: components, parameterized packages, assets: refused by name.
"""
