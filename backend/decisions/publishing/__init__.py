"""What is published of a decision: its document, its reasons in words, and where it is stored."""
