"""How `twitchvault login` gets a pair of tokens.

| module | subject |
| --- | --- |
| `device` | the device code, as a terminal shows it, until the user has approved |
| `code` | the authorization code, which a browser or a pasted address brings |
| `keyboard` | what somebody types meanwhile |
"""
