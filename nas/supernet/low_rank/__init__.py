"""Weight matrices as products of two factors, cut at any rank."""
