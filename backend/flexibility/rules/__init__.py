"""The markets' rules as formulas: days and baselines, volumes, payments. Pure; volumes and money are decimals."""
