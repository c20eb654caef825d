"""How Sphinx builds the pages in this directory: ``make docs``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import provisioner

project = "provisioner"
author = "the authors of provisioner"
release = provisioner.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["examples"]
html_theme = "furo"
html_title = f"provisioner {release}"
html_show_copyright = False
html_copy_source = False
# Every link between pages is checked (make docs); what signatures and docstrings name is not always on a page.
nitpick_ignore_regex = [("py:.*", ".*")]
# An option begins with two hyphens, not with a dash.
smartquotes = False

# Every heading is a link target, as on GitHub, where these pages are read too.
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_block"]

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "inherited-members": False}
