"""TLS as every server of ours speaks it. Here: certificates that are made or brought, contexts, listening.
Not here: what is spoken inside (gateway/, control_plane/), TLS of clients (client/), Terraform's own handshake (tfplugin).
"""
