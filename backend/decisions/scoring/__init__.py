"""The scorer, pure: what each option costs in energy, carbon and money, what rules it out, and how well it suits."""
