"""How Sphinx builds the site out of this folder: `make docs`.

The pages are Markdown (MyST) and read well without the site. What is generated from the code stands in `_ext`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "_ext"))

from shoal import __version__  # noqa: E402 - after the path above, as everything that needs it

project = "Shoal"
author = "Shoal's maintainers"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "shoal_reference",
    "repository_links",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext", "_static"]
root_doc = "index"
nitpicky = True
# What docstrings name in passing: types of other packages, and rooms of the house that are no public API.
nitpick_ignore_regex = [("py:.*", r"(?!shoal\.).*"), ("py:.*", r"shoal\.(?!testing).*\..*")]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True

# Where the repository is shown to readers. Without it, links to files outside of this folder are shown as their names.
repository_url = os.environ.get("SHOAL_REPOSITORY_URL", "")
linkcheck_ignore = [r"https?://(127\.0\.0\.1|localhost|10\.).*", r"https?://[\w.-]*example\.(com|org|net).*"]
linkcheck_timeout = 15

html_theme = "furo"
html_title = f"Shoal {version}"
html_static_path = ["_static"]
html_css_files = ["shoal.css"]
html_copy_source = False
html_show_sphinx = False
