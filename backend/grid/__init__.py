"""The grid's half-hours and figures, pure: settlement periods, models of what is missing, whose a figure is."""
