"""The tools as their users meet them: real programs, beside the C tools, over both servers."""
