"""What makes Pulumi and Terraform speak to us, in tiers: one folder a tool, over what all tools share. No code per resource in any of them.

shared/      create, read, update, delete and wait, for any noun and any tool: operations, changes, values, words
pulumi/      shared/ (Pulumi's names), dynamic/ (the Python provider), native/ (the plugin for every language)
terraform/   our nouns in the terms of plugin protocol 6, which itself is the package `tfplugin`
dynamic.py, native/process.py   names that stand in users' states and folders, and nothing else
"""
