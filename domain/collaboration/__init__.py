"""What people add to records: comments, associations between them, shares, and views of them."""
