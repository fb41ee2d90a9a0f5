from tagfleet.cli import main

main()
