"""What both HTTP servers share: problem answers, the API description, write access, serving."""
