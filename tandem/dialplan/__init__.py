"""What a customer's routing program is written in, checked with and run by. It knows no service:
what a program can do to the world goes through `world.World`, which the appserver gives for real
and a dry run makes up."""
