"""Pulumi, twice: the Python dynamic provider and the native plugin. They share names and import nothing of each other."""
