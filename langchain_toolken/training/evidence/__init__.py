"""What a fit learns besides the rows: when to call at all (`gate`), and which tool a call is for (`which`)."""
