"""Motion space (scheme of Ditto): a few numbers per frame come from the voice; a renderer warps the picture by them."""
