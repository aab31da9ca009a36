"""Names of the native plugin that stand in users' folders. Here: nothing but process.py. Not here: the plugin (pulumi/native)."""
