"""OpenADR 3.1: Pylon as a virtual top node (VTN), for VENs and for the business logic of others."""
