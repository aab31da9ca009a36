"""The life of a database: rows, states, decisions (pure), the loop that carries them out. No other domain calls it."""
