"""Other people's programs, unchanged, over Debian's gearmand and over ours.

Every test runs twice. On Debian's gearmand it shows that the test expects the right thing; on ours, that
nobody has to change a program to come over. `guests/` holds the small programs in the guests' own languages;
each is a tool that takes a server and a few words and prints what it saw, so that the tests read like a talk.
"""
