"""Who is calling, what they may do, and for which operator: keys, tokens, scopes, limits and the record of it all."""
