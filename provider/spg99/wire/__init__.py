"""The PostgreSQL protocol as bytes and values. Here: parsing and building. Not here: sockets, time, decisions."""
