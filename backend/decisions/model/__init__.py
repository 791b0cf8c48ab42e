"""What is asked of a language model, what is believed of it, and when it is not asked."""
