"""What people read: results.json and what is made from it."""
